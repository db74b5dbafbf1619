"""What an import costs: a fresh interpreter that imports a package against one that does nothing."""

from __future__ import annotations

from benchmarks._measure import compare, python, report

AIMS = {
    "import ociworks": 1.1,
    "from ociworks import spec": None,
    "from ociworks import image": None,
    "from ociworks import runtime": None,
    "from ociworks import testing": None,
    "from ociworks import errors": None,
}


def main() -> None:
    """Print the ratios; ``import ociworks`` itself must cost next to nothing."""
    nothing = python("pass")
    report(
        "imports",
        [
            compare(code, python(code), "python -c pass", nothing, pairs=21, aim=aim)
            for code, aim in AIMS.items()
        ],
    )


if __name__ == "__main__":
    main()
