"""Every error that Overread raises on purpose.

    OverreadError
    ├── InputError               what was given cannot be used as it is
    │   ├── UnreadableImage      a file that cannot be read as an image
    │   ├── DataChanged          a file of a data set that changed, or went away, while it was worked with
    │   ├── SourceError          DATA that is no known data set layout, or a broken one
    │   ├── ManifestError        a data set with errors in it (see data/problems.py)
    │   │   └── DataLeak         official splits that share patients or images (see data/leaks.py)
    │   ├── RecipeError          a recipe with wrong keys or values
    │   ├── UnknownName          a catalogue that has no part of that name
    │   ├── BundleError          a bundle that is incomplete, changed or of another version
    │   ├── TooLittleMemory      a training that needs more memory than there is
    │   ├── OutputExists         a place to write to that already holds something else
    │   └── NotInstalled         a package that only some work needs, and that is not there
    ├── TruthAbsent              truth asked of data that has none
    ├── UndefinedMetric          a number that these data do not define (one class only ...)
    └── NonFiniteLoss            training that left the numbers

A message says what was expected, what was found, where, and what to do.
"""


class OverreadError(Exception):
    """Anything that Overread refuses, with a message for the person who asked."""


class InputError(OverreadError):
    """What was given cannot be used as it is."""


class UnreadableImage(InputError):
    """A file that cannot be read as an image."""


class DataChanged(InputError):
    """A file of a data set changed, or went away, while it was worked with."""


class SourceError(InputError):
    """DATA that is no known data set layout, or a broken one."""


class ManifestError(InputError):
    """A data set with errors in it."""


class DataLeak(ManifestError):
    """Official splits of a data set share patients or images."""


class RecipeError(InputError):
    """A recipe with wrong keys or values."""


class UnknownName(InputError):
    """A catalogue has no part of that name."""


class BundleError(InputError):
    """A bundle that is incomplete, changed, or of another version."""


class TooLittleMemory(InputError):
    """A training needs more memory than there is."""


class OutputExists(InputError):
    """A place to write to that already holds something else."""


class NotInstalled(InputError):
    """A package that only some work needs is not installed."""


class TruthAbsent(OverreadError):
    """Truth was asked of data that has none."""


class UndefinedMetric(OverreadError):
    """These data do not define the number that was asked for."""


class NonFiniteLoss(OverreadError):
    """A loss became NaN or infinite; the message names the cases of the batch."""
