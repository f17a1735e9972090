"""Are captions withheld where there is nothing to say?"""
