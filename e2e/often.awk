# Reads a profile as `llvm-profdata merge --text` writes it, and leaves out every function of which no part ran a hundred times:
# what runs only when the program starts is most of a profile, and nothing is gained by it.
# https://llvm.org/docs/CommandGuide/llvm-profdata.html

BEGIN {
	RS = ""
	FS = "\n"
	print ":ir"
}

{
	# Name, hash, number of counters and counters, with a line of comment above each but the first.
	for (name = 1; $name ~ /^[#:]/; name++);
	last = name + 5 + $(name + 4)
	for (line = name + 6; line <= last && $line + 0 < 100; line++);
	if (line > last)
		next
	for (line = name; line <= last; line++)
		print $line
	print ""
}
