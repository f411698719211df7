"""What the answers say: near duplicates, the evaluation of models, and pages of HTML."""
