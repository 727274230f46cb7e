"""The experiments: what each is about, and how long it may take. Each is a module here with a function `measure`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One experiment, and its time limits in seconds."""

    name: str
    about: str
    small_s: float
    paper_s: float

    def seconds(self, scale: str, patience: float = 1.0) -> float:
        """Return the limit at a scale, `patience` times as long."""
        return patience * (self.small_s if scale == "small" else self.paper_s)


EXPERIMENTS = (
    Experiment(
        name="create",
        about="one client: creates and ends beside processes, containers and xl",
        small_s=120,
        paper_s=540,
    ),
    Experiment(
        name="requests",
        about="requests that reach xenstored for one create",
        small_s=45,
        paper_s=120,
    ),
    Experiment(
        name="phases",
        about="figure 5: what a create consists of",
        small_s=45,
        paper_s=120,
    ),
    Experiment(
        name="steps",
        about="what the steps of a create take, over a hypervisor in memory",
        small_s=20,
        paper_s=40,
    ),
    Experiment(
        name="storm",
        about="many clients at once, and random arrivals against the size of the pool",
        small_s=75,
        paper_s=360,
    ),
    Experiment(
        name="jit",
        about="figure 17: domains made by the first packet for them",
        small_s=45,
        paper_s=150,
    ),
    Experiment(
        name="echo",
        about="TCP to a unikernel and to a Linux guest",
        small_s=45,
        paper_s=60,
    ),
    Experiment(
        name="growth",
        about="figures 4 and 11: create and boot as instances become more",
        small_s=90,
        paper_s=700,
    ),
    Experiment(
        name="standing",
        about="figures 14 and 15: memory and idle processor time of instances",
        small_s=80,
        paper_s=540,
    ),
    Experiment(
        name="toolstacks",
        about="figure 9: five toolstacks as guests become more",
        small_s=90,
        paper_s=1260,
    ),
    Experiment(
        name="density",
        about="figure 10: how many there can be, beside containers",
        small_s=60,
        paper_s=600,
    ),
)


def find_experiment(name: str) -> Experiment:
    """Return the experiment called `name`; raises `KeyError`."""
    return {each.name: each for each in EXPERIMENTS}[name]
