"""What a Flex Template's launcher runs: it wants a file, and telebeam is a package."""

from telebeam.pipelines.flex import main

main()
