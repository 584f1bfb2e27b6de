"""THE COUNTERFACTUAL BILL: what one set of recorded sessions of agents costs, served in other ways."""
