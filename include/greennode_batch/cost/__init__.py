"""What a run may cost, and what it has cost.

estimate          tokens and cost of a run before it is sent
estimated_plan    a plan with its estimate
budget_check      whether a plan is within the job's budget, or needs approval
usage_history     tokens that earlier runs used, to correct the next estimate
actual            tokens that results report, and their cost
"""
