"""An archive of results that opens without this package, ready for a repository of data."""

import hashlib
import zipfile
from pathlib import Path

import studies
from studies.evidence.verdicts import open_stored
from studies.workflow.results import datasets

ROOT = Path(studies.__path__[0]).parent
BESIDE = ("LICENSE", "CITATION.cff", "environment.yml", "constraints.txt")
KINDS = ("*.nc", "figures/*", "report/*.html", "report/*.ipynb")
WHEN = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive
README = """# Results of detox_sim

* `*.nc`: one labelled dataset (netCDF 4) a study; `xarray.open_dataset` or `ncdump` opens them.
  The attribute `provenance` is JSON: fields, versions, commit, packages, hardware and seconds of
  every cell.
{made}* `environment.yml`, `constraints.txt`: the packages.
* `SHA256SUMS`: what `sha256sum --check SHA256SUMS` checks.
* `CITATION.cff`: how to cite.

Datasets in this archive:

{datasets}
"""
MADE = {
    "figures": "* `figures/`: one figure a dataset, as SVG, PDF and PNG.\n",
    "report": "* `report/index.html`: the report; it loads nothing from anywhere.\n",
}


def export(folder: Path, target: Path) -> int:
    """Write datasets, figures, pages, environment, checksums and citation; return how many files.

    Parameters
    ----------
    folder : pathlib.Path
        Results of ``python -m studies.reproduce``.
    target : pathlib.Path
        The archive, ``*.zip``. The same results make the same bytes.

    Raises
    ------
    ValueError
        When the folder has no dataset, or the target is no ``.zip``.
    """
    if target.suffix != ".zip":
        raise ValueError(f"the archive must be a .zip, got {target}")
    lines = []
    for name, path in datasets(folder).items():
        _, about = open_stored(path)
        lines.append(f"* `{name}.nc`: {about.get('title', 'a sweep')}; {about.get('scale', '')}")
    paths = sorted(path for kind in KINDS for path in folder.glob(kind) if path.is_file())
    made = "".join(MADE[name] for name in MADE if any(path.parent.name == name for path in paths))
    content = {"README.md": README.format(made=made, datasets="\n".join(lines)).encode()}
    content |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    content |= {n: (ROOT / n).read_bytes() for n in BESIDE if (ROOT / n).is_file()}
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items()]
    content["SHA256SUMS"] = "".join(sums).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(f"{target.stem}/{name}", WHEN), data,
                             compress_type=zipfile.ZIP_DEFLATED)  # fmt: skip
    return len(content)
