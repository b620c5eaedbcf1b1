"""Write SynthPano, or a part of it; finished sequences are kept, so that a run may be interrupted."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from panosam2_ros.datasets.synthpano import summary as summaries
from panosam2_ros.datasets.synthpano.config import FROZEN, SHIPPED, BenchmarkConfig
from panosam2_ros.datasets.synthpano.writer import UNFINISHED, Writer, write_split
from panosam2_ros.io.package_files import package_file
from panosam2_ros.simulation.assets import Split
from panosam2_ros.synthetic.npm_assets import fetch_npm

log = logging.getLogger(__name__)


def render(options: argparse.Namespace, config: BenchmarkConfig, split: Split) -> None:
    """Write the missing sequences of a split."""
    plans = [config.plan(split, index) for index in range(options.sequences or config.sequences)]
    if config.material != SHIPPED and not options.sources.exists():
        try:
            fetch_npm(options.sources)
        except OSError as error:  # no network, or no npm
            raise SystemExit(f"synthpano: {error}") from error
    library = config.library(split, options.sources, reserved=options.reserved)
    writer = Writer(config, library, options.out)
    written = write_split(writer, plans, options.processes)
    for _ in tqdm(written, total=len(plans), desc=f"{config.name} {split.value}", unit="sequence"):
        pass
    unfinished = options.out / UNFINISHED
    if unfinished.is_dir() and not any(unfinished.iterdir()):
        unfinished.rmdir()


def check_split(options: argparse.Namespace, config: BenchmarkConfig, split: Split) -> list[str]:
    """Measure a written split again from its files; return one line per fault."""
    faults = []
    folder = options.out / split.value
    loaded = summaries.load_all(folder)
    if len(loaded) < (options.sequences or config.sequences):
        faults.append(f"{folder} has {len(loaded)} sequences of {config.sequences}: write the others")
    for ground_truth in tqdm(loaded, desc=f"check {split.value}", unit="sequence"):
        faults += summaries.verify(folder / ground_truth.origin.name, ground_truth, config.events)
        if ground_truth.origin.config_sha256 != config.sha256:
            faults.append(f"{ground_truth.origin.name}: made with another configuration")
    return faults


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exit where reserved material is wanted and not allowed."""
    parser = argparse.ArgumentParser(prog="synthpano", description=__doc__)
    parser.add_argument("--split", choices=[s.value for s in Split], required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of all splits")
    parser.add_argument("--sources", type=Path, default=Path("runs/sources"),
                        help="folder of the unpacked npm packages, which are fetched where it is missing "
                             "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--processes", type=int, default=1,
                        help="that write side by side, the same files whatever their number "
                             "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--sequences", type=int, help="write only the first so many (default: all)")
    parser.add_argument("--reserved", action="store_true",
                        help="allow the reserved split, which is for final acceptance only")  # fmt: skip
    parser.add_argument("--check", action="store_true",
                        help="write no sequences; measure the written ones again")  # fmt: skip
    settings = parser.add_mutually_exclusive_group()
    settings.add_argument("--version", choices=list(FROZEN), default="v1",
                          help="of the frozen settings (default: %(default)s)")  # fmt: skip
    settings.add_argument("--config", type=Path, help="settings of the benchmark, not the frozen ones")
    options = parser.parse_args(arguments)
    if options.split == Split.RESERVED.value and not options.reserved:
        parser.error(
            "reserved material is for final acceptance only, never for training, tuning or "
            "choosing: add --reserved for a final acceptance"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 where a complete split misses a quota or a check finds a fault."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = BenchmarkConfig.load(options.config or package_file(*FROZEN[options.version]))
    split = Split(options.split)
    faults = []
    if options.check:
        faults += check_split(options, config, split)
    else:
        render(options, config, split)
    loaded = summaries.load_all(options.out / split.value)
    if loaded:
        summary = summaries.summarise_split(loaded, config)
        summaries.write_summary(options.out, loaded, summary)
        faults += summaries.unmet_quotas(summary)
        counts = {name: n for name, n in summary["sequences_with"].items() if n}
        log.info("%s sequences, of which %s", len(loaded), counts)
    for fault in faults:
        log.error("%s", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
