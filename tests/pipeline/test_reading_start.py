import subprocess
import sys


def test_a_reading_does_not_wait_for_what_only_training_needs() -> None:
    code = """
import sys
import overread.pipeline
import overread.pipeline.reading
needless = {"lightning_fabric", "pandas", "matplotlib", "sklearn", "scipy", "skimage"}
sys.exit(sorted(needless & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
