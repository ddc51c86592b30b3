"""The demo: the daemon's own parts in a sandbox town that plays two weeks in a few minutes.

`run` puts it together; `town` knows the truth, `relay` and `post` are the mail's outside, `people` and
`feed` the library's; `clock` makes the days short, `place` is the folder, `show` tells. Everything listens
on loopback only; no mail leaves the machine.
"""
