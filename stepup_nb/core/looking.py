"""What is seen of files, and what follows for the steps that made them, read them, or searched for them.

Knows what a look has told, not how it was taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stepup_nb.core import nglob
from stepup_nb.core.messages import (
    FilesLooked,
    LogLine,
    LookAt,
)
from stepup_nb.core.model import (
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Content,
    File,
    FileHash,
    FileState,
    Glob,
    Look,
    Outcome,
    Scope,
    Step,
    Stop,
)
from stepup_nb.core.moving import RUN, STARTUP, WATCH, Looking, Moving, state_while_making

PUT_BACKS = 2
"""So often an input that changed during a job puts its step back; the next time the step fails (SPEC 4.5)."""

DEFERS = 100
"""So often an amended input that is not there puts its step back; the next time it fails (StepUp 4.0's cap)."""


class Seeing(Moving):
    """Takes note of what files are now."""

    def _look(self, paths: Iterable[str], looking: Looking, globs: tuple[Glob, ...] = ()) -> int:
        token = self._next_token
        self._next_token += 1
        self._plain_looks += looking.step is None and looking.purpose != "watch"
        self._looking[token] = looking
        files = tuple((path, self._known(path)) for path in paths)
        self._out.instructions.append(LookAt(token, files, globs))
        return token

    def _are_fresh(self, paths: Iterable[str]) -> bool:
        """Tell whether all these files were looked at for this very turn: there is no need to look again."""
        files, now = self.graph.files, self._turn
        return all(files[path].told == now for path in paths)

    def _known(self, path: str) -> FileHash | None:
        file = self.graph.files.get(path)
        return file.look if file is not None and isinstance(file.look, FileHash) else None

    def _known_content(self, path: str) -> Content | None:
        known = self._known(path)
        return None if known is None else known.content

    def _contents(self, paths: Iterable[str]) -> dict[str, Content | None]:
        return {path: self.graph.files[path].content for path in paths}

    # --- what is seen ----------------------------------------------------------------------------

    def _see(self, file: File, look: Look) -> None:
        """Take note of what a file is now, and of what follows for its maker and its readers."""
        before, was_seen = file.content, file.seen
        if self.phase in (STARTUP, WATCH):
            self._tell_change(file, look)
        if file.look != look or not was_seen:
            self._out.files[file.path] = file
        file.look = look
        file.seen = True
        content = file.content
        maker = file.producer
        if maker is None:
            self._set_file(file, FileState.MISSING if content is None else FileState.STATIC)
        elif not maker.is_live:
            self._set_file(file, self._state_without_maker(file))
        else:
            if file.state is not FileState.VOLATILE:
                self._see_output(file, maker)
            return
        if content != before or not was_seen:
            self._content_changed(file, was_seen)

    def _tell_change(self, file: File, look: Look) -> None:
        """Tell of a change that was made while nothing ran: of a static file, or of an output."""
        before, now = file.content, look.content if isinstance(look, FileHash) else None
        if before == now or file.state is FileState.VOLATILE:
            return
        maker = file.producer
        if before is None and (maker is not None or not file.seen):
            # Made by its step meanwhile, or new to us.
            return
        if maker is None and not self.graph.is_static(file):
            return
        self._out.lines.append(LogLine("DELETED" if now is None else "UPDATED", file.path))

    def _see_output(self, file: File, maker: Step) -> None:
        content = file.content
        if maker.state is SUCCEEDED and maker.record is not None:
            if maker.record.content_of_output(file.path) != content:
                what = "is missing" if content is None else "changed"
                self._count_spoilt(file)
                self._pend(maker, f"output '{file.path}' {what}")
        else:
            self._set_file(file, state_while_making(file))

    def _count_spoilt(self, file: File) -> None:
        """A file is to be made again that jobs are reading: if one of them has changed it, that must have an end."""
        for reader in list(file.consumers.values()):
            job = reader.job
            if reader.state is not RUNNING or job is None or job.stop is not None:
                continue
            read = job.inputs.get(file.path)
            if read is None or read.content == file.content:
                continue
            reader.putbacks += 1
            if reader.putbacks > PUT_BACKS:
                reader.token = 0
                self._stop(reader, Stop.PUT_BACK)
                self._move(
                    reader, FAILED, f"input '{file.path}' changed while it ran, {reader.putbacks} times"
                )
                self._let_down(reader)
                if reader.job is None:
                    # Its command had ended already.
                    job.outcome = Outcome.FAILED
                    self._out.lines.append(LogLine("FAIL", reader.key, job.id))

    def _content_changed(self, file: File, was_seen: bool) -> None:
        content = file.content
        words = f"input '{file.path}' {'is missing' if content is None else 'changed'}"
        for reader in list(file.consumers.values()):
            if reader.state is SUCCEEDED:
                if reader.record is None or reader.record.content_of_input(file.path) != content:
                    self._pend(reader, words)
            elif reader.state is QUEUED:
                self._pend(reader, words)
            elif reader.state is FAILED and was_seen:
                self._revive(reader, file, words)
            elif reader.state is PENDING:
                reader.is_outdated = False
                self._review.append(reader)

    def _revive(self, step: Step, file: File, words: str) -> None:
        """A step that failed gets another chance if an input is not what its last job read."""
        read = None if step.last is None else step.last.inputs.get(file.path)
        # One that changes its own inputs would go on for ever.
        is_hopeless = step.putbacks > PUT_BACKS or step.defers > DEFERS
        if (read is None or read.content != file.content) and not is_hopeless:
            step.attempts = 0
            self._pend(step, words)

    # --- what patterns match ---------------------------------------------------------------------

    def _looked(self, report: FilesLooked, looking: Looking) -> None:
        """A look that no step waits for: does any pattern match anything else than before?"""
        if looking.scope is not None:
            self._globbed(report, looking, looking.scope)
            return
        if report.found:
            self._see_matches(report.found)

    def _globbed(self, report: FilesLooked, looking: Looking, scope: Scope) -> None:
        raise NotImplementedError

    def _see_matches(self, found: Mapping[Glob, tuple[tuple[str, ...], ...]]) -> None:
        by_patterns = {(glob.patterns, glob.subs): matches for glob, matches in found.items()}
        for scope in list(self.graph.scopes.values()):
            owner = scope.owner
            for known in searches(scope.globs) if owner is not None and owner.state is SUCCEEDED else ():
                matches = by_patterns.get((known.patterns, known.subs))
                if (
                    owner is not None
                    and matches is not None
                    and (words := self._other_matches(known, matches))
                ):
                    self._pend(owner, words)
                    break

    def _other_matches(self, known: Glob, found: tuple[tuple[str, ...], ...]) -> str:
        """Say which match is new or gone, or return an empty text."""
        now = nglob.consistent(known.patterns, dict(known.subs), self._without_outputs(found))
        before = nglob.consistent(known.patterns, dict(known.subs), known.found)
        if now.canonical() == before.canonical():
            return ""
        old, new = {str(p) for p in before.files()}, {str(p) for p in now.files()}
        pattern = " ".join(known.patterns)
        for path in sorted(new - old) if self.phase != RUN else ():
            file = self.graph.files.get(path)
            if file is None or not self.graph.is_static(file):
                self._out.lines.append(LogLine("UPDATED", path))
        some = sorted(new - old) or sorted(old - new)
        what = "now matches" if new - old else "no longer matches"
        return (
            f"'{some[0]}' {what} the pattern '{pattern}'"
            if some
            else f"pattern '{pattern}' matches otherwise"
        )

    def _without_outputs(self, found: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if self._left_behind[0] != self._turn:
            self._left_behind = (self._turn, self.graph.left_behind())
        left = self._left_behind[1]

        def is_made(path: str) -> bool:
            # At what a job left that failed, nobody has looked since.
            is_left = path in left and (left[path] is None or self._known_content(path) in (None, left[path]))
            return is_left or self.graph.is_output(path)

        return tuple(tuple(path for path in paths if not is_made(path)) for paths in found)


def is_same(look: Look, other: Look) -> bool:
    """Tell whether two looks saw the same: content, and the marks by which a touch is known."""
    if isinstance(look, FileHash) and isinstance(other, FileHash):
        return look.content == other.content and look.mark == other.mark
    return look == other


def searches(globs: Iterable[Glob]) -> tuple[Glob, ...]:
    """Return those for which there is anything to search."""
    return tuple(glob for glob in globs if not glob.is_deferred)
