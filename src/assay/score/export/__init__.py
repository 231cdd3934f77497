"""From scored rows to the data of other trainers: pairs, and answers to imitate."""
