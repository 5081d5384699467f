"""The README's tables of the GPU: what ``results/gpu.json`` says, in Markdown."""

from collections.abc import Iterator
from typing import Any

from gpu_summary import best_exact, device_of
from markdown_tables import NONE, milliseconds, table

Row = dict[str, Any]
#: What stands beside the comparison for information: titles, and settings of the peer.
OTHERS = {
    "torch TF32 ms": "TF32, graph",
    "torch float16 ms": "float16, graph",
    "torch eager ms": "eager, channels last",
}


def gpu_tables(results: dict[str, Any]) -> str:
    """Return the Markdown: ratios and times of each network, and what they were measured on."""
    titles = ["network", "batch", "× best float32 torch", "tinyyolo3 ms", *OTHERS]
    titles += ["picture to boxes ms", "relative error"]
    lines = [line for network in _networks(results) for line in _lines(results, network)]
    return "\n".join([*table(titles, lines), "", _conditions(results)])


def _networks(results: dict[str, Any]) -> list[str]:
    stages = results["stages"]
    return list(dict.fromkeys([*stages.get("peers", {}), *stages.get("networks", {})]))


def _lines(results: dict[str, Any], network: str) -> Iterator[list[str]]:
    peers: Row = results["stages"].get("peers", {}).get(network, {})
    own: Row = results["stages"].get("networks", {}).get(network, {})
    for batch in (1, 8):
        figures, best = own.get(f"batch {batch}"), best_exact(peers, batch)
        if best is not None:
            forward = best[1]["ours_ms"]
        elif figures is not None:
            forward = figures["forward"]["ms"]
        else:
            continue
        others = [peers.get(f"batch {batch}, {name}", {}).get("ms") for name in OTHERS.values()]
        errors = own.get("errors", {}).get("relative")
        yield [
            network,
            str(batch),
            NONE if best is None else f"{best[1]['ratio']:.2f} ({best[0]})",
            milliseconds(forward),
            *(NONE if ms is None else milliseconds(ms) for ms in others),
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
    ceilings: Row = stages.get("ceilings", {}).get("all", {})
    most = (
        f" This GPU copies {ceilings['copy_gb_per_s'] / 1e3:.1f} TB/s and multiplies float32 "
        f"matrices at {ceilings['fp32_tflop_per_s']:.0f} TFLOP/s (cuBLAS)."
        if {"copy_gb_per_s", "fp32_tflop_per_s"} <= ceilings.keys()
        else ""
    )
    return (
        f"Medians of CUDA graphs' replays, in turns; a picture's time is the host's, in batches as "
        f"given. On {device_of(results)}; {', '.join(used)}; commit {results['commit']}, "
        f"{results['date']}.{most}"
    )
