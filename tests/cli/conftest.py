"""What the tests of scripts share."""

import pytest


@pytest.fixture
def refused(capsys):
    """``refused(run, *arguments)`` checks that a run ends with exit code 2 and one line, and returns the line."""

    def check(run, *arguments, **options) -> str:
        capsys.readouterr()
        code = run(*arguments, **options)
        out, error = capsys.readouterr()
        assert code == 2 and out == "" and error.count("\n") == 1, (code, out, error)
        return error

    return check
