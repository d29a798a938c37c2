"""The reproduction ledger: every claim that the experiments can judge, beside the exact value and ours.

claims       the rows: who says what, the published value
estimates    how a finished run answers each
table        z, verdict, and the table as text, Markdown and CSV
__main__     the command
"""
