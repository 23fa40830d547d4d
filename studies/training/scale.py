"""What a training study says of its size and data: the toy, a small, or the paper's scale."""

from detox_sim import data
from studies.evidence import entries as claimed

PAPER_SCALES = {  # title, model and images of a task -> its scale in reports/claims.toml
    ("CIFAR-10", "resnet18", (50_000, 10_000)): "resnet18",
    ("CIFAR-100", "vgg13_bn", (50_000, 10_000)): "vgg13",
}


def scale(fields: dict) -> str:
    """Return what a figure must say of the size of a trial and its data.

    "The paper's scale" takes the fields that ``reports/claims.toml`` asks for, and whole data.

    Examples
    --------
    >>> from studies import pipelines
    >>> scale(pipelines.prepare({}))
    'toy scale: digits (1,438 + 359 images), mlp, 45 nodes, batch 180, 200 steps'
    """
    loaded, model = data.load(fields["data"], fields["data_options"]), fields["model"]
    sizes = len(loaded.train_labels), len(loaded.test_labels)
    images = " + ".join(f"{count:,}" for count in sizes)
    of_paper = PAPER_SCALES.get((loaded.title, model, sizes))
    word = "toy" if loaded.title == "digits" else "small"
    if of_paper and not claimed.read()[1][of_paper].differences(fields):
        word = "the paper's"
    return (
        f"{word} scale: {loaded.title} ({images} images), {model}, {fields['workers']} nodes, "
        f"batch {fields['batch']}, {fields['steps']} steps"
    )


def task_label(fields: dict) -> str:
    """Return the label of a task whose model or data a call changed.

    Examples
    --------
    >>> task_label({"model": "softmax", "data": "digits"})
    'softmax on digits'
    """
    return f"{fields['model']} on {data.load(fields['data'], fields.get('data_options')).title}"
