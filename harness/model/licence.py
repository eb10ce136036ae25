"""Licences of weights: which allow commercial use, and how one that may not is refused."""

_PERMISSIVE = frozenset(("apache-2.0", "mit", "bsd-3-clause"))
"""Licences that allow commercial use, as timm's configurations name them."""
NONE = "none"
"""What is called so that is accepted though no licence is stated."""


def is_permissive(licence: str) -> bool:
    """Return whether a licence allows commercial use, in whatever case it is written."""
    return licence.lower() in _PERMISSIVE


def doubt(licence: str) -> str:
    """Return why weights under a licence may not be for commercial use, or an empty text where they are."""
    if is_permissive(licence):
        return ""
    stated = f"the licence '{licence}'" if is_stated(licence) else "no licence"
    return f"states {stated}, which may not allow commercial use"


def is_stated(licence: str) -> bool:
    """Return whether a licence is named at all."""
    return licence.lower() not in ("", "unknown", NONE)
