"""The command as a process: its status, its streams, and how it ends when it is made to."""

import os
import signal
import subprocess
import sys
import time

import pytest

import tinyyolo3
from tinyyolo3.cli import main
from tinyyolo3.cli.messages import one_line, report
from tinyyolo3.errors import TinyYoloError

COMMAND = [sys.executable, "-m", "tinyyolo3"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and /dev are POSIX's")


def spawn(*arguments: str, **options) -> subprocess.Popen:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONUNBUFFERED", None)  # what fails in a buffer is flushed again at the end
    return subprocess.Popen([*COMMAND, *arguments], env=environment, **options)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


class TestInProcess:
    def test_no_verb_prints_the_help(self, command):
        ending = command()
        assert ending.status == 0
        assert "detect" in ending.out
        assert "info" in ending.out

    @pytest.mark.parametrize("verb", ["detect", "info", "profile"])
    def test_help_of_a_verb_has_an_example(self, verb, capsys):
        with pytest.raises(SystemExit) as ending:
            main([verb, "--help"])
        assert ending.value.code == 0
        assert f"tinyyolo3 {verb} " in capsys.readouterr().out.split("examples:")[1]

    def test_unknown_verb_is_a_usage_error(self, command):
        ending = command("teach")
        assert ending.status == 2
        assert ending.err.startswith("error: argument VERB: invalid choice: 'teach'")
        assert ending.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("problem", "status", "line"),
        [
            (TinyYoloError("no\x1b[2J\nway"), 1, "error: no\\x1b[2J\\nway\n"),
            (MemoryError(), 1, "error: not enough memory; "),
            (KeyboardInterrupt(), 130, "error: interrupted\n"),
            (OSError(24, "Too many open files", "x.jpg"), 1, "error: x.jpg: Too many open files\n"),
            (OSError(28, "No space left"), 1, "error: standard output: No space left\n"),
        ],
    )
    def test_every_problem_is_one_line_and_a_status(
        self, command, monkeypatch, problem, status, line
    ):
        def fail(_):
            raise problem

        monkeypatch.setattr("tinyyolo3.cli.info.run", fail)
        ending = command("info", "--cfg=x")
        assert ending.status == status
        assert ending.err.startswith(line)
        assert ending.err.count("\n") == 1

    def test_mistakes_in_the_program_itself_are_not_hidden(self, monkeypatch):
        def fail(_):
            raise ZeroDivisionError

        monkeypatch.setattr("tinyyolo3.cli.info.run", fail)
        with pytest.raises(ZeroDivisionError):
            main(["info", "--cfg=x"])

    def test_handler_of_sigterm_is_given_back(self, command, model):
        before = signal.getsignal(signal.SIGTERM)
        command("info", "--cfg", model.cfg)
        assert signal.getsignal(signal.SIGTERM) == before

    def test_message_goes_nowhere_when_standard_error_is_closed(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, "stderr", None)
        report("error", "lost")
        assert capsys.readouterr().out == ""

    def test_printable_text_is_left_alone(self):
        assert one_line("Straße → 北京.jpg") == "Straße → 北京.jpg"


class TestProcess:
    def test_version_needs_neither_numpy_nor_numba(self):
        assert finish(spawn("--version")) == (0, f"tinyyolo3 {tinyyolo3.__version__}\n", "")
        program = (
            "import sys, tinyyolo3.cli\n"
            "try: tinyyolo3.cli.main(['--version'])\n"
            "except SystemExit: pass\n"
            "sys.exit(any(name in sys.modules for name in ('numpy', 'numba', 'PIL')))"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0

    def test_result_is_the_same_as_in_process(self, detect, model):
        expected = detect("a.png", "b.jpg")
        arguments = ["detect", "a.png", "b.jpg", *model.arguments]
        assert finish(spawn(*arguments)) == (0, expected.out, "")

    def test_arrow_has_a_stand_in_where_the_encoding_lacks_it(self, model, monkeypatch):
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        status, out, _ = finish(spawn("info", f"--cfg={model.cfg}"))
        assert status == 0
        assert "32 x 32 x  3 -> 16 x 16 x  4" in out

    @posix
    @pytest.mark.usefixtures("pictures")
    @pytest.mark.parametrize(
        "verb", [["info"], ["detect", "a.png"], ["detect", "a.png", "--json=-"]]
    )
    def test_reader_that_leaves_early_is_no_error(self, model, verb):
        reading, writing = os.pipe()
        os.close(reading)
        process = spawn(*verb, *model.arguments, stdout=writing)
        os.close(writing)
        assert finish(process) == (141, None, "")

    @posix
    def test_class_name_that_the_encoding_lacks_is_escaped(self, model, pictures, monkeypatch):
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        (pictures / "greek.names").write_text("σκύλος\nb\nc\n", encoding="utf-8")
        files = [f"--cfg={model.cfg}", f"--weights={model.weights}", "--names=greek.names"]
        status, out, err = finish(spawn("detect", "a.png", "--classes=0", *files))
        assert (status, err) == (0, "")
        assert "\n  \\u03c3\\u03ba" in out

    @posix
    @pytest.mark.usefixtures("pictures")
    @pytest.mark.parametrize("option", ["--clip", "--json=-"])
    def test_full_disk_behind_standard_output_is_one_line(self, model, option):
        if not os.path.exists("/dev/full"):
            pytest.skip("there is no /dev/full")
        with open("/dev/full", "w") as full:
            process = spawn("detect", "a.png", option, *model.arguments, stdout=full)
            status, _, err = finish(process)
        assert status == 1
        assert err.startswith("error: standard output: ")
        assert err.endswith("No space left on device\n")
        assert err.count("\n") == 1

    @posix
    @pytest.mark.parametrize("option", ["--json=found.json", "--out=drawn"])
    def test_full_disk_behind_a_file_is_one_line_and_leaves_nothing(self, model, pictures, option):
        def no_file_over_100_bytes():
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        process = spawn(
            "detect", "a.png", option, *model.arguments, preexec_fn=no_file_over_100_bytes
        )
        status, _, err = finish(process)
        assert status == 1
        assert err.startswith("error: ")
        assert err.endswith("cannot be written: File too large\n")
        assert err.count("\n") == 1
        left = {path.name for path in pictures.rglob("*") if path.is_file()}
        assert left == {"a.png", "b.jpg", "notes.txt"}

    @posix
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_signal_ends_it_without_a_trace(self, model, pictures, number, status):
        before = sorted(pictures.iterdir())
        pipe = "endless"  # a named pipe that nobody writes to: the run waits in its second picture
        os.mkfifo(pictures / pipe)
        arguments = ["detect", "a.png", pipe, "--json=found.json", *model.arguments]
        process = spawn(*arguments)
        assert process.stdout.readline().startswith("a.png: ")
        time.sleep(0.1)
        assert sorted(pictures.iterdir()) != before
        process.send_signal(number)
        code, _, err = finish(process)
        assert code == status
        assert err == ("error: interrupted\n" if number == signal.SIGINT else "")
        os.unlink(pictures / pipe)
        assert sorted(pictures.iterdir()) == before


class TestLazyPackage:
    def test_every_public_name_is_there(self):
        program = "import tinyyolo3; print(*set(tinyyolo3.__all__) - set(dir(tinyyolo3)))"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
        assert (run.stdout, run.stderr) == (b"\n", b"")
        for name in tinyyolo3.__all__:
            assert getattr(tinyyolo3, name) is not None

    def test_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="'tinyyolo3' has no attribute 'lode'"):
            _ = tinyyolo3.lode
