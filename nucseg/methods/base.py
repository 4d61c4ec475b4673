"""The face that every method has: fit, predict, predict_maps, save, load."""

import dataclasses
import json
import types
import typing
from abc import ABC, abstractmethod
from pathlib import Path

import torch

from nucseg.atomic import write_json
from nucseg.engine.checkpoint import load_weights, save_weights
from nucseg.errors import DataError, NucsegError
from nucseg.methods.preprocessing import Preprocessing


class Method(ABC):
    """A recipe that learns from a dataset and then turns images into label maps.

    A subclass names its frozen ``Config`` dataclass and implements :meth:`fit`, :meth:`predict_maps`,
    :meth:`predict` and :meth:`build_networks`. Fitting fills ``preprocessing``, ``networks`` (name to module)
    and ``histories`` (name of a training stage to its :class:`nucseg.engine.History`).

    Parameters
    ----------
    config : dataclass, optional
        Settings; the published ones by default.
    """

    Config: type

    def __init__(self, config=None):
        self.config = self.Config() if config is None else config
        if not isinstance(self.config, self.Config):
            raise DataError(f"{type(self).__name__}: expected a {self.Config.__name__}, got {self.config!r}")
        self.preprocessing: Preprocessing | None = None
        self.networks: dict = {}
        self.histories: dict = {}

    @abstractmethod
    def fit(self, train, val, *, run_dir, fabric=None, progress=True):
        """Learn from `train`, choose epochs on `val`, and return self.

        Parameters
        ----------
        train, val : nucseg.data.Dataset
            Annotated training images; validation images.
        run_dir : path-like
            Receives checkpoints; an interrupted call goes on from there.
        fabric : lightning_fabric.Fabric, optional
            Device and precision.
        progress : bool
            Whether to show bars.
        """

    @abstractmethod
    def predict_maps(self, image):
        """Return named maps, each (H, W) float32, of one RGB image (H, W, 3) uint8."""

    @abstractmethod
    def predict(self, image):
        """Return the instance map, (H, W) int32, 0 = background, of one RGB image (H, W, 3) uint8."""

    @abstractmethod
    def build_networks(self, names):
        """Return untrained networks of the given names, for :meth:`load` to fill."""

    def require_fitted(self):
        """Raise NucsegError unless the method has been fitted or loaded."""
        if self.preprocessing is None or not self.networks:
            raise NucsegError(f"{type(self).__name__} is not fitted yet: call fit or load first")

    def save(self, path):
        """Write the method to a folder: ``method.json`` and one safetensors file for each network.

        Parameters
        ----------
        path : path-like
            The folder; made if needed.

        Raises
        ------
        NucsegError
            Not fitted yet, or a file cannot be written; names it.
        """
        self.require_fitted()
        path = Path(path)
        for name, network in self.networks.items():
            save_weights(path / f"{name}.safetensors", network)
        content = {
            "method": type(self).__name__,
            "config": dataclasses.asdict(self.config),
            "preprocessing": self.preprocessing.to_dict(),
            "networks": sorted(self.networks),
        }
        write_json(path / "method.json", content)  # last: a folder with it is whole

    @classmethod
    def load(cls, path):
        """Return a method written by :meth:`save`, ready to predict.

        Parameters
        ----------
        path : path-like
            The folder.

        Returns
        -------
        Method
            On the CPU.

        Raises
        ------
        DataError
            The folder holds no method, another one, or damaged files; names the file.
        """
        description = Path(path) / "method.json"
        try:
            content = json.loads(description.read_text(encoding="utf-8"))
            found = content["method"]
        except OSError:
            raise DataError(f"{description}: no such file; a saved method is a folder with one") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{description}: not the description of a method ({error!r})") from error
        if found != cls.__name__:
            raise DataError(f"{description}: holds a {found}, not a {cls.__name__}")
        try:
            method = cls(config_from_dict(cls.Config, content["config"]))
            method.preprocessing = Preprocessing.from_dict(content["preprocessing"])
            networks = method.build_networks(content["networks"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{description}: not the description of a method ({error!r})") from error
        for name, network in networks.items():
            load_weights(Path(path) / f"{name}.safetensors", network)
            method.networks[name] = network.eval().to(memory_format=torch.channels_last)  # as fit leaves them
        return method


def config_from_dict(cls, values):
    """Return a config dataclass from the dict that ``dataclasses.asdict`` made of it, also by way of JSON.

    Parameters
    ----------
    cls : type
        A dataclass; its fields may hold dataclasses (or None) and tuples.
    values : dict
        Field names to values; lists become tuples where the field holds one.

    Returns
    -------
    cls

    Raises
    ------
    TypeError
        A field that the class does not have.
    """
    hints = typing.get_type_hints(cls)
    return cls(**{name: _field_value(hints.get(name), value) for name, value in values.items()})


def _field_value(hint, value):
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    nested = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
    if nested is not None and isinstance(value, dict):
        return config_from_dict(nested, value)
    return tuple(value) if isinstance(value, list) else value
