"""The benchmark: the real server between a stand-in for Claude and a load, each a process of its own.

The children are `standin`, `load`, `probes`, `bare` and `naive`; they are run as modules and talk in lines of JSON.
`measure` starts them and puts together what they say.
"""
