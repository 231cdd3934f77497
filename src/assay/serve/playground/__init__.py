"""A page that asks the server: answers ranked, with the probability that each beats each."""
