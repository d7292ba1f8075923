# SPDX-License-Identifier: GPL-2.0
# fish completion for cleave(1); as cleave.bash it asks cleave itself.

function __cleave_words
	set -l words (commandline -opc)
	if test (count $words) -lt 2
		cleave --help 2>/dev/null | sed -nE 's/^  ([a-z]+) +(.*)/\1\t\2/p'
		return
	end
	if string match -q -- '-*' (commandline -ct)
		cleave $words[2] --help 2>/dev/null | sed -nE 's/^ +(-[a-z], )?(--[a-z-]+).*/\2/p'
		return
	end
	switch $words[2]
		case ps stop kill pause resume console stat explain
			cleave ps 2>/dev/null | sed -nE '1!s/ .*//p'
		case launch delete
			cleave instances 2>/dev/null | sed -nE '1!s/ .*//p'
		case images
			printf '%s\n' add remove
			cleave images 2>/dev/null | sed -nE '1!s/ .*//p'
		case bench
			echo generations
	end
end

function __cleave_files
	set -l words (commandline -opc)
	test (count $words) -gt 1; and contains -- $words[2] run bench doctor explain images launch
end

complete -c cleave -f -a '(__cleave_words)'
complete -c cleave -F -n __cleave_files
