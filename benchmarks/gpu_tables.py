"""The README's tables of the GPU: what ``results/gpu.json`` says, in Markdown."""

from collections.abc import Iterator
from typing import Any

from gpu_models import BATCHES, PRECISIONS
from gpu_summary import best_peer, device_of, peers_of
from markdown_tables import NONE, milliseconds, table

Row = dict[str, Any]
#: What stands beside the comparison for information: the peer as most people run it.
EAGER = "eager, channels last"
#: Rates of the stage `ceilings`, and what is multiplied so fast.
CEILINGS = {
    "fp32_tflop_per_s": "float32",
    "tf32_tflop_per_s": "TF32",
    "fp16_tflop_per_s": "float16",
}


def gpu_tables(results: dict[str, Any]) -> str:
    """Return the Markdown: ratios and times of each network, and what they were measured on."""
    titles = ["network", "precision", "batch", "× best torch of this precision", "tinyyolo3 ms"]
    titles += ["torch ms", "torch eager ms", "picture to boxes ms", "relative error"]
    lines = [line for network in _networks(results) for line in _lines(results, network)]
    return "\n".join([*table(titles, lines), "", _conditions(results)])


def _networks(results: dict[str, Any]) -> list[str]:
    stages = results["stages"]
    return list(dict.fromkeys([*stages.get("peers", {}), *stages.get("networks", {})]))


def _lines(results: dict[str, Any], network: str) -> Iterator[list[str]]:
    peers = peers_of(results["stages"], network)
    own: Row = results["stages"].get("networks", {}).get(network, {})
    for precision in PRECISIONS:
        errors = own.get(f"{precision} errors", {}).get("relative")
        for batch in BATCHES:
            name = f"{precision} batch {batch}"
            figures, best = own.get(name), best_peer(peers, precision, batch)
            if best is not None:
                forward = best[1]["ours_ms"]
            elif figures is not None:
                forward = figures["forward"]["ms"]
            else:
                continue
            eager = peers.get(f"{name}, {EAGER}", {}).get("ms")
            yield [
                *(network, precision, str(batch)),
                NONE if best is None else f"{best[1]['ratio']:.2f} ({best[0]})",
                milliseconds(forward),
                *(
                    NONE if ms is None else milliseconds(ms)
                    for ms in (best and best[1]["ms"], eager)
                ),
                NONE if figures is None else milliseconds(figures["detect_ms"]),
                f"{max(errors):.0e}" if errors else NONE,
            ]


def _conditions(results: dict[str, Any]) -> str:
    """Return the line that says what was measured, on what, with which versions."""
    stages = results["stages"]
    device: Row = stages.get("device", {}).get("all", {})
    versions: Row = device.get("versions", {})
    named = {"CuPy": "cupy-cuda13x", "torch": "torch", "NumPy": "numpy", "Python": "python"}
    used = [f"{label} {versions[name]}" for label, name in named.items() if name in versions]
    cudnn = next((p["torch"]["cudnn"] for p in stages.get("peers", {}).values() if "torch" in p), 0)
    driver = device.get("smi", {}).get("driver")
    used += [f"cuDNN {cudnn}"] if cudnn else []
    used += [f"NVRTC {device['nvrtc']}"] if "nvrtc" in device else []
    used += [f"driver {driver}"] if driver else []
    return (
        f"Medians of CUDA graphs' replays, in turns; a picture's time is the host's, in batches as "
        f"given. On {device_of(results)}; {', '.join(used)}; commit {results['commit']}, "
        f"{results['date']}.{_ceilings(stages.get('ceilings', {}).get('all', {}))}"
    )


def _ceilings(found: Row) -> str:
    """Return the sentence that says what the GPU can do at most."""
    rates = [
        f"{name} at {found[key]:.0f} TFLOP/s" for key, name in CEILINGS.items() if key in found
    ]
    if "copy_gb_per_s" not in found or not rates:
        return ""
    return (
        f" This GPU copies {found['copy_gb_per_s'] / 1e3:.1f} TB/s and multiplies matrices of "
        f"{', of '.join(rates)} (cuBLAS)."
    )
