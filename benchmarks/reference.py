"""How a trained run does beside MedMNIST's reference, which learns and tests in the same folds, on the same machine.

    python benchmarks/reference.py ../shared/data/medmnist/breastmnist.npz RUN [--folds 2] [--epochs 100]

RUN is a finished training on that file. The reference is that of Yang et al. (Scientific Data 10:41, 2023): ResNet-18
for 28 x 28 px (a first convolution of 3 x 3, nothing pooled), Adam at 1e-3, a tenth of it after half and after three
quarters of 100 epochs, batches of 128, pixels brought to [-1, 1], nothing varied. Its last epoch answers, as no part is
left to choose one by. The folds, and who counts as one, are read from the run's predictions.csv.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from overread.evaluation.classification import classification_estimates
from overread.evaluation.delong import delong

BATCH, RATE = 128, 1e-3


def network(classes: int) -> nn.Module:
    model = resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def pictures(data: Path, case_ids: list[str]) -> torch.Tensor:
    """`(case, 3, row, column)` in [-1, 1], in the order of the case ids, such as "train_000012"."""
    with np.load(data) as file:
        arrays = {name: file[name] for name in file.files if name.endswith("_images")}
    rows = [key.rsplit("_", 1) for key in case_ids]
    images = np.stack([arrays[f"{split}_images"][int(number)] for split, number in rows])
    return torch.from_numpy(images / 127.5 - 1).float()[:, None].expand(-1, 3, -1, -1)


def learned(images: torch.Tensor, labels: torch.Tensor, *, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = network(int(labels.max()) + 1).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [epochs // 2, epochs * 3 // 4], gamma=0.1)
    for _ in range(epochs):
        for some in torch.randperm(len(images)).split(BATCH):
            if len(some) > 1:  # batch norms learn from several images
                optimiser.zero_grad(set_to_none=True)
                functional.cross_entropy(model(images[some]), labels[some]).backward()
                optimiser.step()
        schedule.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--folds", type=int, help="only the first ones, for a quicker look")
    parser.add_argument("--epochs", type=int, default=100)
    typed = parser.parse_args()
    rows = pd.read_csv(typed.run / "predictions.csv", dtype={"case_id": str, "group": str})
    evaluation = json.loads((typed.run / "evaluation.json").read_text(encoding="utf-8"))
    classes = evaluation["data"]["classes"]
    images = pictures(typed.data, rows["case_id"].tolist())
    labels = torch.tensor([classes.index(name) for name in rows["truth"]])
    own = rows[[f"score_{name}" for name in classes]].to_numpy()
    theirs, seconds = np.full_like(own, np.nan), []
    for fold in sorted(rows["fold"].unique())[: typed.folds]:
        tested = torch.tensor((rows["fold"] == fold).tolist())
        started = time.perf_counter()
        model = learned(images[~tested], labels[~tested], epochs=typed.epochs, seed=int(fold))
        seconds.append(time.perf_counter() - started)
        with torch.inference_mode():
            theirs[tested.numpy()] = model(images[tested]).softmax(1).double().numpy()
        print(f"fold {fold}: the reference learned for {seconds[-1] / 60:.1f} min", flush=True)
    asked = ~np.isnan(theirs[:, 0])
    truth, groups = labels.numpy()[asked], rows["group"][asked].tolist()
    for name, scores in (("reference", theirs), (typed.run.name, own)):
        told = classification_estimates(
            truth, scores[asked], classes, groups, task="single-label", draws=1000, level=0.95, seed=0
        )
        for one in told:
            if one.class_name is None and one.metric in ("auroc", "accuracy"):
                print(f"{name}: {one.metric} {one.value:.3f} ({one.low:.3f} to {one.high:.3f})")
    test = delong(truth == len(classes) - 1, theirs[asked, -1], own[asked, -1], level=0.95)
    print(f"difference of AUROC: {test.value:+.3f} ({test.low:+.3f} to {test.high:+.3f}), p = {test.p_value:.3f}")
    model_s = evaluation["model"]["training_seconds"] / evaluation["model"]["n_networks"]
    print(f"a network learned for {model_s / 60:.1f} min: {model_s / np.mean(seconds):.2f} of the reference's time")


if __name__ == "__main__":
    main()
