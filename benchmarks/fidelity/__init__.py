"""Does the objective rank generators as the truth does?"""
