"""A rank that fails in some way in the middle of work: `python failing.py HOW RANK`."""

import os
import signal
import sys
import time

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, distributed, nn

how, who = sys.argv[1], int(sys.argv[2])
distributed.init()
mine = distributed.rank() == who
if how == "seed":
    tg.manual_seed(7 + mine)
model = nn.Linear(3, 4 if how == "shape" and mine else 5)
distributed.data_parallel(model, nn.optim.SGD(model.parameters(), lr=0.1))
x = Tensor(np.ones(1000))
for step in range(100_000):
    x = distributed.all_reduce(x, "mean")
    if step == 20 and mine:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "raise":
            raise ValueError("no such number")
        elif how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif how == "hang":
            time.sleep(1000)
        elif how == "leave":
            sys.exit(0)
        elif how == "other":
            distributed.broadcast(x)
    time.sleep(0.001)
