"""Commands on terminals that cannot show or take what they print."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import detox_sim
from detox_sim.__main__ import COMMANDS

ROOT = Path(detox_sim.__file__).parents[1]
PRINT = "print('0.1 ± 0.2'); print('x' * 100_000); return 0"


def run(body, **options):
    """Run a main function with this body as a command; return the finished process."""
    code = f"import sys\nfrom detox_sim.commands import terminal\ndef main():\n    {body}\n"
    command = [sys.executable, "-c", code + "sys.exit(terminal.run(main))"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)


def ended(process):
    with process:
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, error.decode()


def test_ascii_terminal_shows_question_marks():
    process = run(PRINT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, b"")
    assert output.startswith(b"0.1 ? 0.2\n")


def test_reader_that_ends_early_ends_the_command_in_silence():
    reading, writing = os.pipe()
    process = run(PRINT, stdout=writing)
    os.close(writing)
    os.close(reading)
    assert ended(process) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_is_one_line():
    with Path("/dev/full").open("w") as full:
        assert ended(run(PRINT, stdout=full)) == (1, "error: [Errno 28] No space left on device\n")


def test_interrupt_is_one_line():
    """Also where this process was started to ignore the signal, as in the background."""
    heard = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    body = f"{heard}; print('ready', flush=True); time.sleep(600); return 0"
    process = run(body, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "\ninterrupted\n")


def test_closed_output_is_silence():
    process = run(PRINT, preexec_fn=lambda: os.close(1))
    assert ended(process) == (0, "")


def test_interrupt_inside_compiled_code_is_one_line():
    body = "try:\n        raise KeyboardInterrupt\n"
    body += (
        "    except KeyboardInterrupt as error:\n        raise SystemError('compiled') from error"
    )
    assert ended(run(body)) == (130, "\ninterrupted\n")


def test_every_command_runs_so():
    for path, _ in COMMANDS.values():
        body = ast.parse((ROOT / f"{path.replace('.', '/')}.py").read_text()).body
        (last,) = (
            ast.unparse(each.body[0])
            for each in body
            if isinstance(each, ast.If) and "__main__" in ast.unparse(each.test)
        )
        own = path.startswith("detox_sim")
        runs = "sys.exit(terminal.run(main))" if own else f"terminal.run_module('{path}')"
        assert last == runs, path


def test_interrupt_of_imports_is_one_line(tmp_path):
    """In the first two seconds of a command of the studies, whose imports take as long."""
    (tmp_path / "sitecustomize.py").write_text(
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    )
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    for command in ("reproduce", "results", "claims"):
        with subprocess.Popen(
            [sys.executable, "-v", "-m", f"studies.{command}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path,
        ) as process:  # fmt: skip
            said = []
            for line in process.stderr:
                said.append(line)
                if "import 'xarray." in line:
                    process.send_signal(signal.SIGINT)
                    break
            said += process.stderr.readlines()
        assert process.returncode == 130, command
        assert "\ninterrupted\n" in "".join(said), command
        assert "Traceback" not in "".join(said), command
