# UDP for a machine that only SSH reaches, where there is no Python 3.
# The same frames as udp.py; only modules of perl-base.
use strict;
use warnings;
use Socket qw(:DEFAULT getaddrinfo);
use Fcntl;
use Errno;

my ($OPEN, $DGRAM, $REFUSED, $CLOSE, $READY) = (1, 2, 3, 4, 5);
my $MAX_FLOWS = 1024;
my (%socks, %flows);    # flow -> socket, file descriptor -> flow

sub tell_sharer {
    my ($kind, $flow, $payload) = @_;
    my $frame = pack('NCN', length $payload, $kind, $flow) . $payload;
    while (length $frame) {
        my $sent = syswrite(STDOUT, $frame);
        if (!defined $sent) { next if $!{EINTR}; exit 1; }
        substr($frame, 0, $sent) = '';
    }
}

sub close_flow {
    my ($flow) = @_;
    my $sock = delete $socks{$flow} or return;
    delete $flows{fileno $sock};
    close $sock;
}

sub refuse {
    my ($flow, $code) = @_;
    close_flow($flow);
    tell_sharer($REFUSED, $flow, chr $code);
}

# Refuse the flow for what $! says, unless only one datagram was meant.
sub failed {
    my ($flow) = @_;
    return if $!{EAGAIN} || $!{EINTR} || $!{EMSGSIZE} || $!{ENOBUFS} || $!{EPERM};
    refuse($flow, $!{ECONNREFUSED} ? 2 : $!{EHOSTUNREACH} || $!{ENETUNREACH} ? 4 : 14);
}

sub open_flow {
    my ($flow, $port, $host) = @_;
    return refuse($flow, 12) if keys %socks >= $MAX_FLOWS || $socks{$flow};
    my ($error, $found) = getaddrinfo($host, $port, {socktype => SOCK_DGRAM});
    return refuse($flow, 6) if $error || !$found;
    socket(my $sock, $found->{family}, SOCK_DGRAM, 0) or return refuse($flow, 14);
    fcntl($sock, F_SETFL, O_NONBLOCK);
    setsockopt($sock, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    setsockopt($sock, SOL_SOCKET, SO_SNDBUF, 1 << 20);
    $socks{$flow} = $sock;
    $flows{fileno $sock} = $flow;
    connect($sock, $found->{addr}) or failed($flow);
}

sub take {
    my ($kind, $flow, $payload) = @_;
    if ($kind == $OPEN) {
        my ($port, $host) = unpack('na*', $payload);
        open_flow($flow, $port, $host);
    } elsif ($kind == $DGRAM && $socks{$flow}) {
        defined send($socks{$flow}, $payload, 0) or failed($flow);
    } elsif ($kind == $CLOSE) {
        close_flow($flow);
    }
}

sub receive {
    my ($flow) = @_;
    for (1 .. 32) {
        my $sock = $socks{$flow} or return;
        defined recv($sock, my $data, 65507, 0) or return failed($flow);
        tell_sharer($DGRAM, $flow, $data);
    }
}

binmode STDIN;
binmode STDOUT;
tell_sharer($READY, 0, '');
my $pending = '';
while (1) {
    my $read = '';
    vec($read, $_, 1) = 1 for 0, keys %flows;
    next if select($read, undef, undef, undef) < 0;
    for my $descriptor (keys %flows) {
        next unless defined $flows{$descriptor} && vec($read, $descriptor, 1);
        receive($flows{$descriptor});
    }
    next unless vec($read, 0, 1);
    my $size = sysread(STDIN, $pending, 262144, length $pending);
    exit 0 if !$size && !$!{EINTR};
    my $start = 0;
    while (length($pending) - $start >= 9) {
        my ($length, $kind, $flow) = unpack('NCN', substr($pending, $start, 9));
        last if length($pending) - $start < 9 + $length;
        take($kind, $flow, substr($pending, $start + 9, $length));
        $start += 9 + $length;
    }
    substr($pending, 0, $start) = '';
}
