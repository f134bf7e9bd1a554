"""Writes the conda file and the Apptainer definition from the one lock, requirements.txt: `make environments`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PYTHON = "3.11"
ORIGIN = "# Written by `make environments` from requirements.txt; change that.\n"


def conda(lock: list[str]) -> str:
    """The one environment of every rule, for `snakemake --sdm conda`."""
    pins = "".join(f"      - {pin}\n" for pin in lock)
    return f"{ORIGIN}channels: [conda-forge]\ndependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{pins}"


def apptainer(lock: list[str]) -> str:
    """An image with Python, a compiler (torch compiles on CUDA) and the lock, for `apptainer build`."""
    pins = "".join(f"{pin}\n" for pin in lock)
    return (
        f"{ORIGIN}Bootstrap: docker\nFrom: python:{PYTHON}-slim-bookworm\n\n%post\n"
        "apt-get update && apt-get install -y --no-install-recommends gcc g++ libc6-dev\n"
        f"cat >/opt/requirements.txt <<'LOCK'\n{pins}LOCK\n"
        "python -m pip install --no-cache-dir --requirement /opt/requirements.txt\n"
    )


def main() -> None:
    lock = (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (FOLDER / "environment.yaml").write_text(conda(lock), encoding="utf-8")
    (FOLDER / "apptainer.def").write_text(apptainer(lock), encoding="utf-8")


if __name__ == "__main__":
    main()
