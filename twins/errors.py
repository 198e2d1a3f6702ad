"""Errors of the library. Each message is for the user, and says what is wrong and what to do.

TwinsError
├── UnknownModel           there is no model of that name
├── RepositoryError        a model repository has another layout, or wrong values
├── CheckpointError        a file is not a Twins checkpoint, or not the expected one
├── WeightsUnavailable     weights cannot be fetched
├── BackendMissing         the library of a backend is not installed, or does not run on the device
│   └── NetworkUnsupported  a backend does not run this kind of network
├── ExportFailed           a network cannot be exported for a backend, or gives other answers there
├── DeviceError
│   ├── DeviceMissing      there is no such device on this machine
│   ├── DeviceOutOfMemory  the device has no memory for a batch, or for a model
│   └── DeviceLost         the device stopped working; only a new process can use it again
├── NonFiniteOutput        the output of a network for an image has NaN or infinity
├── LabelsError            a list of labels does not fit the model
├── DatasetError           a data set has no known layout, or does not fit the model
├── BadOption              an option is out of range, or the model does not have it
└── ImageError             an image cannot be used; see `twins.images.decode`
"""


class TwinsError(Exception):
    """The root of the tree. Its message is complete."""


class UnknownModel(TwinsError):
    """There is no model of that name. The message names the closest one."""


class RepositoryError(TwinsError):
    """A model repository has another layout, or a file in it has wrong values."""


class CheckpointError(TwinsError):
    """A file is not a Twins checkpoint, or not the expected one."""


class WeightsUnavailable(TwinsError):
    """Weights cannot be fetched. The message says how to bring the file."""


class LabelsError(TwinsError):
    """A list of labels does not fit the model."""


class BadOption(TwinsError, ValueError):
    """An option is out of range, or does not fit the model."""


class BackendMissing(TwinsError):
    """The library of a backend is not installed, or does not run on the device. The message says what to do."""


class NetworkUnsupported(BackendMissing):
    """A backend does not run this kind of network. The message says which backend does."""


class ExportFailed(TwinsError):
    """A network cannot be exported for a backend, or gives other answers there."""


class DeviceError(TwinsError):
    """A device cannot do what it is asked to do."""


class DeviceMissing(DeviceError):
    """There is no such device on this machine."""


class DeviceOutOfMemory(DeviceError):
    """The device has no memory for a batch, or for a model. The device itself still works."""


class DeviceLost(DeviceError):
    """The device stopped working in this process."""


class NonFiniteOutput(TwinsError):
    """The network's output for an image holds NaN or infinity, so it means nothing."""


class DatasetError(TwinsError):
    """A data set cannot be read, or does not fit the model."""
