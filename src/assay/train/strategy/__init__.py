"""The engines that hold the weights: one process, DDP, FSDP2, DeepSpeed; and what they share."""
