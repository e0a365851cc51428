"""``stepup.core.stepinfo``: what the calls that declare steps return."""

from stepup_nb.plan.stepinfo import StepInfo, dump_step_info, load_step_info

__all__ = ["StepInfo", "dump_step_info", "load_step_info"]
