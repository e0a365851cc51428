"""Makes the core's commands of what clients ask for, and fills in what a client does not choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stepup_nb.core.amending import over
from stepup_nb.core.messages import (
    Amend,
    Clean,
    Command,
    Declare,
    DeclareGlob,
    Hold,
    LookAgain,
    Release,
    Wait,
    command_from_json,
)
from stepup_nb.core.model import Step
from stepup_nb.core.scheduler import Scheduler
from stepup_nb.director.environments import Environments
from stepup_nb.director.server import Client, Request

Later = Wait | Clean | Amend | DeclareGlob | LookAgain
"""What is answered when something has come to its end."""

_LATER_NAMES = frozenset(kind.__name__ for kind in (Wait, Clean, Amend, DeclareGlob, LookAgain))


class Commands:
    """Knows what it takes to understand a request.

    Parameters
    ----------
    scheduler
        Tells whose job asks.
    environments
        Those that clients have sent.
    hash_env
        Returns the keyed hash of a variable's value, of its name and this value.
    clock
        Seconds; a wait's deadline is told by it.
    in_use
        Returns the names of the environments that clients refer to.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        environments: Environments,
        hash_env: Callable[[str, str], str],
        clock: Callable[[], float],
        in_use: Callable[[], Iterable[str]],
    ) -> None:
        self._scheduler = scheduler
        self._environments = environments
        self._hash_env = hash_env
        self._clock = clock
        self._in_use = in_use
        self._tokens = 0

    def token(self) -> int:
        """Return a new number for something that is answered later."""
        self._tokens += 1
        return self._tokens

    def of(self, client: Client, request: Request) -> Command:
        """Return what a client asks for.

        Raises
        ------
        StepUpError, ValueError, KeyError
            It cannot be understood.
        """
        form = dict(request)
        form.pop("id", None)
        variables, timeout = form.pop("variables", None), form.pop("timeout", None)
        if "token" in form or "deadline" in form:
            raise ValueError("'token' and 'deadline' are given by the director")
        op = form.get("op")
        if client.job is not None:
            self._take_for_job(client.job, form)
        if isinstance(op, str) and op in _LATER_NAMES:
            form["token"] = self.token()
            if op == "Wait":
                form["deadline"] = self._deadline(timeout)
        command = command_from_json(form)
        if isinstance(command, Declare):
            if client.job is None:
                self._take_environment(client, command.environment, variables)
            if not command.spec.env:
                return command
            return command._replace(env_hashes=self._hashes(command.spec.env, command.environment))
        if isinstance(command, Amend):
            step = self.step_of_job(command.job)
            return command._replace(env_hashes=self._hashes(command.env, step.environment))
        if isinstance(command, Hold):
            client.holds.add(command.hold)
        elif isinstance(command, Release):
            client.holds.discard(command.hold)
        return command

    def env_hash(self, environment: str, variable: str) -> str | None:
        """Return the keyed hash of a variable's value in an environment; None where it is not set."""
        value = self._environments.value(environment, variable)
        return None if value is None else self._hash_env(variable, value)

    def step_of_job(self, number: int) -> Step:
        """Return the step whose job asks; raise UsageError (SNB-130) where it is over."""
        job = self._scheduler.jobs.get(number)
        step = None if job is None else self._scheduler.graph.steps.get(job.step)
        if step is None:
            raise over()
        return step

    def _take_for_job(self, job: int, form: dict[str, Any]) -> None:
        """Fill in what a job does not choose: for whom it declares, and in which environment."""
        step = self.step_of_job(job)
        if form.get("op") == "Amend":
            form["job"] = job
            return
        if form.get("op") not in ("Hold", "Release"):
            form["scope"] = self._scheduler.scope_of_job(job)
        if form.get("op") == "Declare":
            # As in StepUp: what a plan changes in its own environment is no matter of its steps.
            form["environment"] = step.environment

    def _deadline(self, timeout: object) -> float | None:
        if timeout is None:
            return None
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise ValueError(f"'timeout': a number of seconds is expected, not {timeout!r:.40}")
        return self._clock() + timeout

    def _take_environment(self, client: Client, name: str, variables: object) -> None:
        known = self._environments
        if variables is not None:
            known.take(name, variables)
        if name not in known:
            raise ValueError("'environment': one that was not sent")
        client.environment = name
        if known.is_crowded():
            steps = self._scheduler.graph.steps.values()
            known.keep([*self._in_use(), *(step.environment for step in steps)])

    def _hashes(self, variables: Iterable[str], environment: str) -> tuple[tuple[str, str | None], ...]:
        return tuple((variable, self.env_hash(environment, variable)) for variable in variables)
