"""What banks say of all rows."""

import numpy as np


def all_log_prob(bank, rows):
    return np.concatenate([bank.log_prob(block) for block in rows.blocks()], axis=1)


def all_predict(bank, rows):
    return np.concatenate([bank.predict(block) for block in rows.blocks()], axis=2)
