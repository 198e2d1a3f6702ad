"""What can go wrong in the library, for the user to mend.

TwinsError
├── UnknownModel        no such name; says which is closest
├── CheckpointError     a file that is no Twins checkpoint, or not the one it was said to be
├── WeightsUnavailable  weights that cannot be fetched; says how to bring a file
├── DeviceError
│   ├── DeviceMissing      no such device on this machine
│   ├── DeviceOutOfMemory  the device has no memory for a batch, or for a model
│   └── DeviceLost         the device does not work any more; only a new process can use it again
├── NonFiniteOutput     a network's output for an image that holds NaN or infinity
├── LabelsError         a list of labels that does not fit
├── DatasetError        a folder to measure on that is laid out in no known way, or does not fit the model
├── BadOption           an option out of range, or one that the model does not have
└── ImageError          an image that cannot be used, see `twins.images.decode`
"""


class TwinsError(Exception):
    """The root: a message for the user, complete as it stands."""


class UnknownModel(TwinsError):
    """No model of that name."""


class CheckpointError(TwinsError):
    """Not a checkpoint, or not the expected one."""


class WeightsUnavailable(TwinsError):
    """The weights could not be fetched."""


class LabelsError(TwinsError):
    """Labels that do not fit the model."""


class BadOption(TwinsError, ValueError):
    """An option out of range, or one that does not fit the model."""


class DeviceError(TwinsError):
    """A device that cannot do what was asked of it."""


class DeviceMissing(DeviceError):
    """No such device on this machine."""


class DeviceOutOfMemory(DeviceError):
    """The device has no memory for a batch, or for a model. The device itself still works."""


class DeviceLost(DeviceError):
    """The device does not work any more in this process."""


class NonFiniteOutput(TwinsError):
    """The network's output for an image holds NaN or infinity, so it means nothing."""


class DatasetError(TwinsError):
    """A data set that cannot be read, or does not fit the model."""
