"""The comparison of the outputs of two runtimes."""

import numpy as np
import pytest

from twins.errors import DatasetError, ExportFailed
from twins.runtime.agreement import difference
from twins.runtime.conversion import conversion_errors

VALUES = np.array([[1.0, 3.0]], np.float32)


def test_a_difference_is_counted_in_deviations():
    assert difference(VALUES, VALUES + 0.5) == 0.5


@pytest.mark.parametrize("constant", [2.0, 0.0])
def test_outputs_that_are_all_alike_can_be_compared(constant):
    wanted = np.full((1, 1), constant, np.float32)
    assert difference(wanted, wanted) == 0
    assert difference(wanted, wanted + 1) > 0.1


def test_values_at_which_the_network_overflows_do_not_count():
    wanted = np.array([[1.0, 3.0, np.inf]], np.float32)
    assert difference(wanted, np.array([[1.0, 3.0, 0.0]], np.float32)) == 0
    assert difference(wanted[:, 2:], VALUES[:, :1]) == 0


def test_an_output_that_is_not_finite_where_it_should_be_never_agrees():
    assert not difference(VALUES, VALUES * np.nan) <= 1e9


def test_an_error_of_a_library_says_that_the_network_cannot_be_exported():
    with (
        pytest.raises(ExportFailed, match=r"cannot be exported: no such operator\. Use --backend torch"),
        conversion_errors(),
    ):
        raise RuntimeError("no such operator\nin a long trace")


@pytest.mark.parametrize("error", [OSError("disk full"), DatasetError("no images"), MemoryError()])
def test_errors_about_files_images_and_memory_keep_their_type(error):
    with pytest.raises(type(error)), conversion_errors():
        raise error
