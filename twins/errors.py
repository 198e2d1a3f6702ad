"""What can go wrong in the library, for the user to mend.

TwinsError
├── UnknownModel        no such name; says which is closest
├── CheckpointError     a file that is no Twins checkpoint, or not the one it was said to be
├── WeightsUnavailable  weights that cannot be fetched; says how to bring a file
├── DeviceMissing       no such device on this machine
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


class DeviceMissing(TwinsError):
    """No such device on this machine."""


class DatasetError(TwinsError):
    """A data set that cannot be read, or does not fit the model."""
