"""Redundancy schemes at the sizes that `schemes` compares, and what is published of them."""

from math import comb

FORGED = ("everywhere", "through the vote")  # which copies Byzantine workers forge


def _scheme(assignment: str, vote: str = "majority", forged: str = FORGED[0]) -> dict:
    return {"assignment": assignment, "assignment_options": {}, "vote": vote, "forged": forged}


_ALIKE = {"draws": 10}  # where every set of Byzantine workers distorts as many files
SCHEMES = {
    "no redundancy": _scheme("none") | _ALIKE,
    "DETOX": _scheme("detox"),
    "Latin squares": _scheme("mols"),
    "Ramanujan graph": _scheme("ramanujan"),
    "block design": _scheme("bibd"),
    "random graph": _scheme("random_regular"),
    "all subsets": _scheme("subsets") | _ALIKE,
    "detection (weak attack)": _scheme("subsets", "clique") | _ALIKE,
    "detection (strong attack)": _scheme("subsets", "clique", FORGED[1]) | _ALIKE,
    "cyclic code": _scheme("cyclic", "cyclic") | {"draws": 3},
}
MAJORITIES = ["DETOX", "Latin squares", "Ramanujan graph", "block design", "random graph"]
_OF_15 = [name for name in SCHEMES if name != "Ramanujan graph"]
_OF_25 = ["no redundancy", *(name for name in MAJORITIES if name != "Latin squares"), "cyclic code"]
SMALL = {  # (workers, copies) -> numbers of Byzantine workers, and the schemes of that size
    (15, 3): (range(1, 8), _OF_15),
    (25, 5): (range(1, 11), _OF_25),
}
LOADS = {  # scheme -> (workers, copies)
    "no redundancy": [(45, 1)],
    "DETOX": [(45, 3), (45, 5), (45, 9), (45, 15)],
    "Latin squares": [(39, 3), (45, 5)],
    "block design": [(45, 3)],
    "random graph": [(45, 3), (45, 5), (45, 7), (45, 9)],
    "cyclic code": [(45, 3), (45, 5), (45, 7), (45, 9), (45, 11), (45, 15), (45, 19)],
}
BYZANTINE = (5, 9)  # Byzantine workers where the load varies


def label(scheme: str, workers: int, copies: int) -> str:
    """Return the label of a scheme of some size on the axis of arrangements.

    Examples
    --------
    >>> label("DETOX", 15, 3), label("no redundancy", 15, 3)
    ('DETOX p=15 r=3', 'no redundancy p=15 r=1')
    """
    copies = 1 if scheme == "no redundancy" else copies
    return f"{scheme} p={workers} r={copies}"


def arrangements() -> dict[str, dict]:
    """Return the fields of every scheme at every size, by label.

    Examples
    --------
    >>> arrangements()["DETOX p=45 r=3"]["byzantine"]
    [5, 9]
    """
    small = [(s, *size, q) for size, (q, schemes) in SMALL.items() for s in schemes]
    loads = [(s, *size, BYZANTINE) for s, sizes in LOADS.items() for size in sizes]
    table = {
        label(scheme, workers, copies): SCHEMES[scheme]
        | {"workers": workers, "byzantine": list(q)}
        | {"copies": 1 if scheme == "no redundancy" else copies}
        for scheme, workers, copies, q in [*small, *loads]
    }
    table[label("random graph", 15, 3)]["assignment_options"] = {"load": 5}
    return table


PUBLISHED = {  # label -> Byzantine workers -> distorted files
    label("Latin squares", 15, 3): {2: 1, 3: 3, 4: 5, 5: 8, 6: 12, 7: 14},
    label("Ramanujan graph", 25, 5): {3: 1, 4: 1, 5: 2, 6: 4, 7: 5, 8: 7},
    label("detection (strong attack)", 15, 3): {q: comb(2 * q, 3) // 2 for q in range(2, 8)},
}
