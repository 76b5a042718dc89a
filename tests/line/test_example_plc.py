import runpy
import warnings

from tests.line.services import free_port
from tests.support.places import ROOT


def test_the_simulated_plc_ejects_the_defective_parts(capsys):
    example = runpy.run_path(str(ROOT / "examples" / "plc_modbus.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ejected = example["main"](free_port())

    assert ejected == [number % 4 == 3 for number in range(12)]
    said = capsys.readouterr().out.splitlines()
    assert sum("ejects" in line for line in said) == 3
