"""The reproduction ledger: every claim that the experiments can judge, beside the exact value and ours.

claims       the rows: who says what, the published value
estimates    how a finished run answers each; `neural` for learners that are trained by gradient descent
table        z, verdict, and the table as text, Markdown and CSV
__main__     the command
"""
