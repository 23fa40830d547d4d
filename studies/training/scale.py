"""What a training study says of its size and data: the toy, a small, or the paper's scale."""

from detox_sim import data

# The paper's tasks, its fields, and the least of its steps, whose number is not known.
PAPER_TASKS = [  # title of the data, model, training and test images
    ("CIFAR-10", "resnet18", (50_000, 10_000)),
    ("CIFAR-100", "vgg13_bn", (50_000, 10_000)),
]
PAPER_FIELDS = {"workers": 45, "byzantine": 5, "batch": 1440, "momentum": 0.9}
PAPER_STEPS = 1000


def scale(fields: dict) -> str:
    """Return what a figure must say of the size of a trial and its data.

    Examples
    --------
    >>> from studies.training import pipelines
    >>> scale(pipelines.prepare({}))
    'toy scale: digits (1,438 + 359 images), mlp, 45 workers, batch 180, 200 steps'
    """
    loaded, model = data.load(fields["data"], fields["data_options"]), fields["model"]
    sizes = len(loaded.train_labels), len(loaded.test_labels)
    images = " + ".join(f"{count:,}" for count in sizes)
    word = "toy" if loaded.title == "digits" else "small"
    as_paper = all(fields[name] == value for name, value in PAPER_FIELDS.items())
    if as_paper and fields["steps"] >= PAPER_STEPS and (loaded.title, model, sizes) in PAPER_TASKS:
        word = "the paper's"
    return (
        f"{word} scale: {loaded.title} ({images} images), {model}, {fields['workers']} workers, "
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
