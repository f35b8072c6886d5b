"""What do ASHA and the sampler save, replayed on recorded trials?"""
