"""What a chapter needs from the study: its settings under a profile, and a way to hand values to the page."""

import importlib.util
import io
import os
from types import SimpleNamespace

import yaml

from nucseg.errors import DataError, UnknownNameError
from nucseg.study.paths import repository_root


def profiles():
    """Return the names of the profiles: ``full`` (published settings) and one per file in workflow/profiles."""
    folder = repository_root() / "workflow" / "profiles"
    return ["full", *sorted(path.stem for path in folder.glob("*.yaml"))]


def settings(slug, profile, **published):
    """Return a chapter's settings: the published ones, with the profile's smaller values put over them.

    Parameters
    ----------
    slug : str
        The chapter, for example ``"from-dots-to-labels"``.
    profile : str
        ``"full"`` keeps the published settings; any other profile reads ``workflow/profiles/<profile>.yaml``.
    **published
        The chapter's parameters at their published values.

    Returns
    -------
    types.SimpleNamespace
        One attribute for each published parameter, plus ``profile``.

    Raises
    ------
    UnknownNameError
        No such profile.
    DataError
        The profile names a setting that the chapter does not have.
    """
    if profile not in profiles():
        raise UnknownNameError(f"unknown profile {profile!r}; there are {', '.join(profiles())}")
    overrides = {}
    if profile != "full":
        path = repository_root() / "workflow" / "profiles" / f"{profile}.yaml"
        overrides = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(slug, {}) or {}
    unknown = sorted(set(overrides) - set(published))
    if unknown:
        raise DataError(f"workflow/profiles/{profile}.yaml: {slug} has no setting {unknown[0]!r}")
    return SimpleNamespace(profile=profile, **{**published, **overrides})


def glue(name, value):
    """Hand a number, text, table or figure to the page under a name.

    In a book run (``NUCSEG_BOOK=1``) the value is stored for the page to place; elsewhere it is simply shown.
    Without MyST-NB (on Colab, say) it is only shown.

    Parameters
    ----------
    name : str
        The key that the page's text refers to.
    value : object
        Anything with a notebook display; a Matplotlib figure is stored as a picture of at most 256 colors, which
        takes a third of the bytes, and closed afterwards.
    """
    in_book = os.environ.get("NUCSEG_BOOK") == "1"
    if getattr(value, "shape", None) == ():
        value = value.item()  # a NumPy or PyTorch scalar: its printed form is no number to the page
    if importlib.util.find_spec("myst_nb") is not None:
        from myst_nb import glue as store

        store(name, _compact(value) if hasattr(value, "savefig") else value, display=False)
    if not in_book and not isinstance(value, (int, float, str)):
        from IPython.display import display

        display(value)
    if hasattr(value, "savefig"):
        from matplotlib import pyplot

        pyplot.close(value)


def _compact(figure):
    """Return a Matplotlib figure as a PNG picture of at most 256 colors."""
    import PIL.Image
    from IPython.display import Image

    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", bbox_inches="tight")
    with PIL.Image.open(full) as picture:
        picture.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(small, "png", optimize=True)
    return Image(small.getvalue(), format="png")
