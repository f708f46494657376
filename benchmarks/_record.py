"""Arguments and records, which all benchmarks share."""

import argparse
import json
import os
from pathlib import Path

import torch

from kmod.experiments import records
from kmod.training.flops import device_name
from kmod.versions import commit, versions


def argument_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the option --out. `description` is the docstring of the benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE", help="append the records to FILE, a line of JSON each")
    return parser


def add(out: Path | None, record: dict, device: torch.device | str = "cpu") -> dict:
    """`record` with its device, cores, versions and commit; it is appended to the file `out`, if one is given."""
    record |= {"device": device_name(torch.device(device)), "cores": os.cpu_count()}
    record |= {"versions": versions(), "commit": commit()}
    if out:
        records.append(out, [record])
    return record


def read(out: Path | None) -> list[dict]:
    """The records in the file `out`; none if there is no such file."""
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out and out.is_file() else []
