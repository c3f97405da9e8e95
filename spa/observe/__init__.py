"""Looking at a model at work: on which data, by which loss, and what its tensors hold then.

Whatever looks at data goes through here: criteria with gradients or activations, and OBSPA's
calibration. Batches come one after another, and what is kept of them is small.
"""
