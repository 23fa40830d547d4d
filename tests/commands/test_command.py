"""The console command: it runs each command, and a shell completes it."""

import subprocess
import sys

import pytest

from detox_sim import __main__ as command
from detox_sim import __version__


def test_command_runs_the_one_that_is_named(capsys):
    assert command.main(["rules"]) == 0
    assert capsys.readouterr().out.startswith("| rule |")
    assert command.main(["plan", "--workers", "9", "--byzantine", "30"]) == 2
    assert capsys.readouterr().err.startswith("detox-sim plan: byzantine must be below")


def test_command_lists_what_there_is(capsys):
    for arguments, text in ([], "usage: detox-sim"), (["--version"], f"detox_sim {__version__}\n"):
        with pytest.raises(SystemExit) as stopped:
            command.main(arguments)
        assert stopped.value.code == 0, arguments
        assert capsys.readouterr().out.startswith(text), arguments
    assert command.main(["plna"]) == 2
    assert "unknown command 'plna'; did you mean 'plan'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["rules", "x"], ["doctor", "--x"], ["plan"], ["plan", "--x"], ["claims", "--markdwn"],
        ["results"], ["results", "plot", "x"], ["reproduce", "--backend", "gpu"],
        ["reproduce", "--finished", "--fresh"], ["completion"], ["completion", "fish"],
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_with_the_name_of_the_command(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith(f"detox-sim {arguments[0]}"), error
    assert error.endswith("; --help lists the options\n"), error


def test_command_without_a_clone_names_what_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "studies", None)
    monkeypatch.setitem(sys.modules, "studies.reproduce", None)
    assert command.main(["reproduce"]) == 2
    assert capsys.readouterr().err.startswith("error: reproduce runs from a clone")


def test_shell_completes_commands_and_options(tmp_path):
    script = tmp_path / "completion"
    script.write_text(command._completion("bash"))
    for words, expected in (
        (["detox-sim", "pl"], "plan"),
        (["detox-sim", "plan", "--by"], "--byzantine"),
        (["detox-sim", "reproduce", "--prof"], "--profile"),
        (["detox-sim", "results", "exp"], "export"),
    ):
        name = "_shtab_detox_sim"
        line = f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        line += f"{name}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert expected in done.stdout.split(), (words, done)
