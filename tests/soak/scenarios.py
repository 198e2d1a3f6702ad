"""All scenarios, in the order of the table. The last one takes an hour."""

from tests.soak import answers, days, devices, disks, drain, fairness, overload, processes, resources

SCENARIOS = {
    scenario.name: scenario
    for group in (processes, devices, disks, resources, drain, overload, fairness, answers, days)
    for scenario in group.SCENARIOS
}
