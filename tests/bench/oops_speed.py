"""How fast kernel logs are parsed: ``python tests/bench/oops_speed.py [FOLDER]``.

Without a folder: the corpus of tests/corpus. CPU time of one core, the first pass (regular
expressions are compiled at their first use) and the later ones apart; then logs of 10 MB.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crashkit.oops import parse_reports
from tests.corpus.syzkaller import corpus, read_sample

PASSES = 3
LONG = 10 << 20


def measure(texts: list[str]) -> float:
    start = time.process_time()
    for text in texts:
        parse_reports(text)
    return time.process_time() - start


def main(folder: Path) -> None:
    texts = [read_sample(path).log for path in sorted(folder.iterdir()) if path.is_file()]
    size = sum(map(len, texts)) / (1 << 20)
    for number in range(PASSES):
        seconds = measure(texts)
        rate = len(texts) / seconds
        print(f"pass {number + 1}: {len(texts)} logs, {size:.1f} MB, {seconds:.2f} s: {rate:.0f}/s")
    line = "[    1.000000] usb 1-1: new high-speed USB device number 2 using xhci_hcd\n"
    healthy = line * (LONG // len(line))
    crashed = healthy + max(texts, key=len)
    many = "\n".join(texts) * (LONG // sum(map(len, texts)) + 1)
    for name, text in (("healthy", healthy), ("one report", crashed), ("reports all over", many)):
        print(f"{len(text) / (1 << 20):.0f} MB, {name}: {measure([text]):.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else corpus())
