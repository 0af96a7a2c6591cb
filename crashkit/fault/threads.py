"""What a kernel thread was made with, as its own structure still has it."""

from __future__ import annotations

from drgn import Object, Program

from crashkit.decode.fields import member, naming
from crashkit.errors import Reason, Unavailable


def thread_data(prog: Program, function: int) -> Object:
    """Find the argument of the crashed thread's function: ``struct kthread.data``.

    :param function: address of the function that it was made to run
    :returns: the member; it is written once, when the thread is made
    :raises Unavailable: it cannot be had, or the thread was made to run something else
    """
    what = "kthread_data(current)"
    with naming(what):
        try:
            task = prog.crashed_thread().object
        except ValueError as error:
            raise Unavailable(what, Reason.NO_DEBUGINFO, str(error)) from error
        # In a member of its own since e32cf5dfbe22 ("kthread: Generalize pf_io_worker so it
        # can point to struct kthread") (in v5.17), before in set_child_tid.
        private = member(task, "worker_private", "set_child_tid")
        thread = Object(prog, "struct kthread *", int(private.value_()))
        if int(member(thread, "threadfn").value_()) != function:
            raise Unavailable(what, Reason.NOT_APPLICABLE, "the crashed thread runs another one")
        thread.data.read_()
        data: Object = thread.data
        return data
