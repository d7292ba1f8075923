# SPDX-License-Identifier: GPL-2.0
# bash completion for cleave(1): commands and options are those that --help lists,
# and guests those of `cleave ps`, so that nothing here becomes old.

_cleave_options()
{
	cleave "$1" --help 2>/dev/null | sed -nE 's/^ +(-[a-z], )?(--[a-z-]+).*/\2/p'
}

# As the help says: `--name VALUE`, but not `--name [VALUE]`.
_cleave_takes_value()
{
	cleave "$1" --help 2>/dev/null | grep -qE -- "^ +(-[a-z], )?$2 [A-Z]"
}

_cleave_guests()
{
	cleave ps 2>/dev/null | sed -nE '1!s/ .*//p'
}

_cleave_value()
{
	case $1 in
	--kernel|--initrd|--firmware|--flat|--symbols|--config|--svg|-k|-i|-f|-s)
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$2")) ;;
	--device|-d)
		COMPREPLY=($(compgen -W "$(cleave run --device help 2>/dev/null | sed -nE 's/^([a-z][a-z0-9-]*).*/\1/p')" -- "$2")) ;;
	--pv)	COMPREPLY=($(compgen -W "all none clock steal eoi ipi tlb unhalt yield poll realtime" -- "$2")) ;;
	--net)	COMPREPLY=($(compgen -W "user tap=" -- "$2")) ;;
	--user)	COMPREPLY=($(compgen -u -- "$2")) ;;
	esac
}

_cleave()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}

	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "$(cleave --help 2>/dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p')" -- "$cur"))
		return
	fi
	# --name=VALUE is three words to bash.
	if [ "$cur" = = ]; then
		_cleave_value "$prev" ""
		return
	fi
	if [ "$prev" = = ] && [ "$COMP_CWORD" -gt 2 ]; then
		_cleave_value "${COMP_WORDS[COMP_CWORD - 2]}" "$cur"
		return
	fi
	case $cur in
	-*)	COMPREPLY=($(compgen -W "$(_cleave_options "$command")" -- "$cur"))
		return ;;
	esac
	case $prev in
	-*)	_cleave_value "$prev" "$cur"
		[ ${#COMPREPLY[@]} = 0 ] || return
		! _cleave_takes_value "$command" "$prev" || return ;;
	esac
	case $command in
	ps|stop|kill|pause|resume|console|stat|explain)
		COMPREPLY=($(compgen -W "$(_cleave_guests)" -- "$cur")) ;;
	bench)	COMPREPLY=($(compgen -W generations -- "$cur")) ;;
	esac
}

complete -F _cleave cleave
