"""How long a training step takes, with and without what makes it quick; in turns, each in a process of its own.

"as it is" has all of it; the others go without one of: freed memory that is kept, quick layers, fused optimisers.
"""

import resource
import subprocess
import sys
import time

ROUNDS, STEPS, WARM = 3, 20, 4
FROZEN = {"cnn": 3, "mask-rcnn": 0}  # levels, as in the recipes breastmnist-cnn and nuclei-mask-rcnn
AS_IT_IS = "as it is"
WITHOUT = ("kept memory", "quick layers", "fused optimiser")


def measure(family: str, without: str) -> None:
    """Print the seconds of the quickest step, because a busy machine only adds to them, and the peak memory in MB."""
    import torch

    from overread.models import backbones
    from overread.models.contract import Batch, Shape, Truths, models
    from overread.training.allocation import keep_freed_memory

    if without != "kept memory":
        keep_freed_memory()
    if without == "quick layers":
        backbones.quicken = id  # which leaves the layers as timm made them
    torch.manual_seed(0)
    kind = models.get(family)
    marks = family == "mask-rcnn"
    model = kind.build(
        kind.Settings(frozen=FROZEN[family]), Shape("masks" if marks else "single-label", ("no", "yes"), 1)
    )
    model = model.to(memory_format=torch.channels_last).train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, fused=without != "fused optimiser")
    images = torch.randn(4 if marks else 16, 1, 256 if marks else 128, 256 if marks else 128)
    names = tuple(str(number) for number in range(len(images)))
    if marks:
        masks = torch.zeros(9, 256, 256, dtype=torch.uint8)
        boxes = torch.tensor([[x, y, x + 40, y + 40] for x in (10, 90, 170) for y in (10, 90, 170)]).float()
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        truths = tuple(Truths(boxes, torch.zeros(9, dtype=torch.int64), masks) for _ in names)
        batch = Batch(images, names, truths=truths)
    else:
        batch = Batch(images, names, targets=torch.arange(len(images)) % 2)
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=marks):
            loss = torch.stack(list(model.loss(batch).values())).sum()
        loss.backward()
        optimiser.step()
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(min(times[WARM:]), peak)


def main() -> None:
    for family in FROZEN:
        found: dict[str, list[tuple[float, float]]] = {AS_IT_IS: [], **{one: [] for one in WITHOUT}}
        for _ in range(ROUNDS):
            for without, all_of_them in found.items():
                typed = [sys.executable, __file__, family, without]
                said = subprocess.run(typed, check=True, capture_output=True, text=True).stdout.split()
                all_of_them.append((float(said[0]), float(said[1])))
        seconds = {how: min(pair[0] for pair in pairs) for how, pairs in found.items()}
        peaks = {how: max(pair[1] for pair in pairs) for how, pairs in found.items()}
        print(f"{family}: a step takes {seconds[AS_IT_IS]:.3f} s and {peaks[AS_IT_IS]:.0f} MB")
        for without in WITHOUT:
            ratio = seconds[without] / seconds[AS_IT_IS]
            print(f"  without {without}: {ratio:.2f} times as long, {peaks[without]:.0f} MB")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2])
    else:
        main()
