"""How fast are steps, trials and searches, and what do they cost?"""
